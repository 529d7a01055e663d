"""From a model's functions to machine code: one translation of their jaxprs, and one emitter per kind of machine."""
