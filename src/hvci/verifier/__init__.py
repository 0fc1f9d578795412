"""The emulated Driver Verifier: runs a driver under W^X and counts. Judges nothing."""
