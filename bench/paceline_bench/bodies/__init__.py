"""The tasks that benchmarks run. A node loads these modules, so each imports no more than its tasks need."""
