"""Where bytes live: protocols (`base`), the receipts journal (`receipts`) and the backends (`local`).

Only storage code is here: no HTTP, no SQL, no jobs. `open_storage` picks the backend that a URL names.
"""
