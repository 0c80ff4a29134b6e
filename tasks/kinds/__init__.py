"""What verbs do with one kind of data: ``tasks/kinds/KIND/VERB.py``. `tasks.registry` says how a verb gets here."""
