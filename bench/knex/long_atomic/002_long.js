exports.up = async (knex) => {
  await knex.schema.alterTable("long_atomic_entry", (table) => table.text("note"));
  await knex.raw("SELECT pg_sleep(20)");
};
exports.down = async () => {};
