"""k-means by exact steps: the same centres for any number of processes, byte for byte.

| module | what it holds |
| --- | --- |
| `products` | inner products in int8, bfloat16 or float32, and how far they may be off |
| `nearest` | `NearestCentres`: the nearest centres of rows, exact whichever products it uses |
| `rows` | the rows that are clustered, in parts: in memory, or in a file |
| `sums` | sums of rows by centre in whole numbers, which add up in any order |
| `workers` | who sums: this process, several, or those that torchrun started |
| `start` | the first centres: random distinct rows |
| `tree` | the first centres: a clustering of two levels |
| `lloyd` | iterations: assign, average, split the heaviest centre where one is empty |
"""
