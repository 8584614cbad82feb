"""Alembic migrations, from the first table on. Run by `migrate`; there is no alembic.ini."""
