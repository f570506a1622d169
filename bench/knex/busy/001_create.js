exports.up = (knex) =>
  knex.schema.createTable("busy_entry", (table) => {
    table.bigIncrements("id");
    table.integer("amount").notNullable();
  });
exports.down = (knex) => knex.schema.dropTable("busy_entry");
