"""Places where runs live: the protocol, one package per database, and the URL registry.

Nothing outside this package imports a concrete backend; ``registry.backend_for`` does.
"""
