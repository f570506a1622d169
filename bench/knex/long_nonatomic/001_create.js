exports.up = (knex) => knex.schema.createTable("long_nonatomic_entry", (table) => table.bigIncrements("id"));
exports.down = (knex) => knex.schema.dropTable("long_nonatomic_entry");
