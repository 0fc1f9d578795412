"""What files hold, before anything is preprocessed."""
