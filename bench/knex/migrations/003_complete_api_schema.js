module.exports = require("../schema")(3);
