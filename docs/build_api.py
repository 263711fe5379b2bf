"""Builds the API reference from the docstrings of the public names: docs/api/index.html."""

import pathlib

import pdoc

import perfnet_tf

OUTPUT = pathlib.Path(__file__).parent / "api"

for name in perfnet_tf.__all__:  # each is imported when first used, and pdoc uses none
    setattr(perfnet_tf, name, getattr(perfnet_tf, name))
pdoc.render.configure(docformat="google", footer_text=f"perfnet_tf {perfnet_tf.__version__}")
pdoc.pdoc("perfnet_tf", output_directory=OUTPUT)
print(f"written: {OUTPUT / 'index.html'}")
