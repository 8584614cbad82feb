"""The SQL database: models, connections, all SQL of the project, migrations.

`database` opens connections and units of work, `models` are the tables, `repository` and the modules it joins
(`uploads`, `jobs`, `files`) hold every statement. Every statement that serves a caller takes the tenant; the few that
serve a worker or the sweep go by job or state and say so. Times are compared with the clock of the database only.
"""
