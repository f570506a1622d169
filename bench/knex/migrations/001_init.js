module.exports = require("../schema")(1);
