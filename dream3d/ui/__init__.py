"""The local web page. Everything but `page.py` needs no gradio: forms from the schema, words of command lines, a queue of processes, what
runs have made."""
