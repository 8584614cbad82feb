"""The person at a terminal: `sluice up|put|get|ls|jobs|...`. The only room that may import all others; nobody imports
it. `main` holds the list of commands, each other command module does one job and is imported when it is run."""
