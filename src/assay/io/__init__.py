"""Files on disk: digests of bytes, and locks of folders."""
