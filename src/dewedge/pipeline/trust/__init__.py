"""How far the filled wedge of a finished run is to be believed."""
