"""The generated world written out, in the forms that real data sets and benchmarks have."""
