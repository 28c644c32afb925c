"""What does the pieces of a stage: this process, several on this machine, or a Ray cluster.

| module | what it holds |
| --- | --- |
| `engine` | `Engine`, the contract; `PieceTask`; how a piece is attempted |
| `local` | `ThisProcess` and `LocalProcesses` |
| `ray` | `RayTasks`: a Ray task a piece |
"""
