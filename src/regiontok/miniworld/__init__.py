"""The generated world: seeded pictures of a few shapes, with exact masks of what they show.

| module | what it holds |
| --- | --- |
| `scenes` | `make_scene`: the `Scene` of a seed |
| `words` | the words for shapes, colours, sizes, textures and backgrounds |
"""
