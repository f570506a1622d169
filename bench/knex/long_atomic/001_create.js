exports.up = (knex) => knex.schema.createTable("long_atomic_entry", (table) => table.bigIncrements("id"));
exports.down = (knex) => knex.schema.dropTable("long_atomic_entry");
