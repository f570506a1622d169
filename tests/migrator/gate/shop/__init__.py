"""A shop in which people pay: the app whose second migration is each case of the gate's tests in turn."""
