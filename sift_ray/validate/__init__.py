"""Is a release what it says? Rules over its rows and files, read as a stream, in either layout."""
