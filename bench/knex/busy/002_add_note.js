exports.up = (knex) => knex.schema.alterTable("busy_entry", (table) => table.text("note"));
exports.down = (knex) => knex.schema.alterTable("busy_entry", (table) => table.dropColumn("note"));
