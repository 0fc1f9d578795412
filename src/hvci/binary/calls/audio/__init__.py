"""Methods of audio miniports and of the objects of their port driver."""
