"""What verbs do with ensembles: several players with a stem each."""
