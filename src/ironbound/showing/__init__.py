"""What was found, for eyes: inputs, what attacks made of them, the change and the model's answers, as one HTML page.

`seen` holds what a result is shown with, `images` draws inputs, `words` writes numbers, `page` lays out; the reports of audits
are made of the same parts.
"""
