"""What is checked in a file before a library decodes it, because damage there hangs the library or ends the process."""
