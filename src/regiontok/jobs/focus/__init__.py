"""`regiontok focus`: how much of the answers' attention goes to the objects asked about."""
