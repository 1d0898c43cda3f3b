"""The report of an audit: one HTML document that needs no network, no script and no other file.

`schema` says what an audit is made of, `wording` puts it into words, `pictures` draws, `render` lays out.
"""
