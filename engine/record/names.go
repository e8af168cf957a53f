package record

import "math/rand/v2"

func adjectives() []string {
	return []string{
		"able", "agile", "airy", "amber", "ample", "awake", "balmy", "bold", "brave", "breezy", "bright", "brisk",
		"calm", "candid", "cheery", "clever", "cosy", "crisp", "curious", "dainty", "daring", "deft", "eager", "early",
		"easy", "exact", "fair", "fearless", "fleet", "fond", "frank", "fresh", "gentle", "glad", "golden", "grand",
		"hardy", "hearty", "honest", "humble", "jaunty", "jolly", "keen", "kind", "lively", "loyal", "lucid", "lucky",
		"mellow", "merry", "mighty", "mild", "modest", "neat", "nifty", "nimble", "noble", "patient", "placid", "plucky",
		"polite", "prompt", "proud", "quick", "quiet", "ready", "serene", "sharp", "silent", "silver", "sleek", "smooth",
		"snug", "solid", "spry", "stable", "steady", "stout", "sturdy", "sunny", "swift", "tidy", "tranquil", "trusty",
		"upbeat", "vivid", "warm", "watchful", "wise", "witty", "zesty",
	}
}

func people() []string {
	return []string{
		"amundsen", "anning", "archimedes", "avicenna", "babbage", "baird", "banneker", "bell", "benz", "bering",
		"bessemer", "blackwell", "brunel", "cabot", "carson", "cartier", "cook", "crompton", "cugnot", "curie", "daimler",
		"davy", "diesel", "drake", "edison", "eiffel", "ericsson", "euler", "faraday", "fermat", "fitzroy", "fleming",
		"franklin", "fulton", "galilei", "galvani", "germain", "gutenberg", "hadley", "halley", "harrison", "herschel",
		"hooke", "hopper", "hudson", "huygens", "jacquard", "jenner", "joule", "kepler", "lamarr", "lavoisier",
		"leibniz", "linnaeus", "lovelace", "magellan", "marconi", "maury", "mercator", "morse", "nansen", "newcomen",
		"nobel", "noether", "ohm", "otto", "papin", "pascal", "pasteur", "plimsoll", "ptolemy", "pytheas", "roebling",
		"ross", "savery", "semmelweis", "shackleton", "siemens", "slocum", "smeaton", "stephenson", "swan", "tasman",
		"telford", "tesla", "torricelli", "trevithick", "turing", "volta", "watt", "whitworth", "wright", "zheng",
	}
}

// RandomName makes up a name for a container that was given none: an adjective
// and a person who made, mended or steered something. Two calls may make the same.
func RandomName() string {
	a, p := adjectives(), people()
	return a[rand.IntN(len(a))] + "_" + p[rand.IntN(len(p))]
}
