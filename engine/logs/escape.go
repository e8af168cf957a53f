package logs

import "unicode/utf8"

// appendEscaped appends p as the inside of a JSON string. Bytes that are no
// UTF-8 become U+FFFD, as Docker has it.
func appendEscaped(out, p []byte) []byte {
	const hex = "0123456789abcdef"
	start := 0
	for i := 0; i < len(p); {
		b := p[i]
		if b >= 0x20 && b != '"' && b != '\\' && b < utf8.RuneSelf {
			i++
			continue
		}
		size, esc := 1, ""
		switch {
		case b == '\n':
			esc = `\n`
		case b == '"':
			esc = `\"`
		case b == '\\':
			esc = `\\`
		case b == '\r':
			esc = `\r`
		case b == '\t':
			esc = `\t`
		case b >= utf8.RuneSelf:
			r, n := utf8.DecodeRune(p[i:])
			if r != utf8.RuneError || n > 1 {
				i += n
				continue
			}
			esc = "\ufffd"
		}
		out = append(out, p[start:i]...)
		if esc == "" {
			out = append(out, '\\', 'u', '0', '0', hex[b>>4], hex[b&15])
		}
		out = append(out, esc...)
		i += size
		start = i
	}
	return append(out, p[start:]...)
}
