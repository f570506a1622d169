"""Side-by-side benchmarks of `migrate` against stock Django and Knex: ``make bench``, never part of the tests."""
