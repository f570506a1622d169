exports.config = { transaction: false };
exports.up = async (knex) => {
  await knex.raw("INSERT INTO slow_run DEFAULT VALUES");
  await knex.raw("SELECT pg_sleep(5)");
};
exports.down = async () => {};
