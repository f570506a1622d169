exports.up = (knex) => knex.schema.createTable("slow_run", (table) => table.bigIncrements("id"));
exports.down = (knex) => knex.schema.dropTable("slow_run");
