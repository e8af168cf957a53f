package main

// encodersLate changes package encoding/json: how a field is written is looked up when
// it is written, and not for every type that is read, and every type in it: a third of
// the time to read a container's record.
func encodersLate(text string) (string, error) {
	return swap(text, "\t\tf.encoder = typeEncoder(typeByIndex(t, f.index))\n",
		"\t\tf.encoder = func(e *encodeState, v reflect.Value, opts encOpts) { typeEncoder(v.Type())(e, v, opts) }\n")
}
