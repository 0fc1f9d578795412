"""One room an architecture: bytes or words as what form/ asks for."""
