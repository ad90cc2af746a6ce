"""Tiny slides of the vendors, made by script: one module per format, each with ``write(folder, ...) -> Made``.

The bytes are ours, after the public descriptions of the formats (https://openslide.org/formats/); the
pixels that must come out are known from the image or from a decode of the same tiles without any slide library.
"""
