exports.up = (knex) => knex.schema.alterTable("busy_entry", (table) => table.index("amount", "busy_entry_amount"));
exports.down = (knex) => knex.schema.alterTable("busy_entry", (table) => table.dropIndex("amount", "busy_entry_amount"));
