package main

// tablesLate changes package hash/crc32: MakeTable(Castagnoli) makes the table
// that its caller may read, and what the fast way needs is made when it is first
// gone. Packages make that table when they are initialised: 0.15 of 1.5 ms.
func tablesLate(text string) (string, error) {
	for _, s := range [][2]string{
		{"\t\tcastagnoliInitOnce()\n\t\treturn castagnoliTable\n", "\t\tcastagnoliTableOnce()\n\t\treturn castagnoliTable\n"},
		{"\tcastagnoliTable = simpleMakeTable(Castagnoli)\n", ""},
		{"\thaveCastagnoli.Store(true)\n", ""},
		{"\t\treturn updateCastagnoli(crc, p)\n", "\t\tcastagnoliInitOnce()\n\t\treturn updateCastagnoli(crc, p)\n"},
	} {
		var err error
		if text, err = swap(text, s[0], s[1]); err != nil {
			return "", err
		}
	}
	return text + `
var castagnoliTableOnce = sync.OnceFunc(func() {
	castagnoliTable = simpleMakeTable(Castagnoli)
	haveCastagnoli.Store(true)
})
`, nil
}
