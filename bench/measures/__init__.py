"""What is measured, one module for each workload. Each has `measure(setting) -> Result`; `CATALOGUE` names them all
with the letter that the design gives them, and a title.
"""
