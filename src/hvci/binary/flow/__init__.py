"""What a location can hold: the data flow, of no architecture."""
