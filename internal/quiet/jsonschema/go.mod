module github.com/santhosh-tekuri/jsonschema/v6

go 1.24

require golang.org/x/text v0.14.0
