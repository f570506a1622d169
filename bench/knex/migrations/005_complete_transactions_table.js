module.exports = require("../schema")(5);
