"""How like real images synthetic ones are, how varied, and whether they are their own: on features, class by class."""
