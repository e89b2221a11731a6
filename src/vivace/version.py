"""The version, for the package, its metadata and the Server field of embedded servers. Imports nothing."""

__version__ = "0.1.0"
