"""An example of a plug-in of regiontok: the step `largest` and the pool `first`."""
