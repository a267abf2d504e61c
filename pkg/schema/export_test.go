package schema

// ShortNumber is shortNumber.
var ShortNumber = shortNumber
