"""What can be said of how far the filled wedge of a tomogram is to be believed: verdict, figures, page."""
