# METADATA
# title: Classes of data
# description: What a class demands, see tables/classifications. Undefined for a class that is not known.
package extauthz.lib.classification

# METADATA
# description: The rank that clearance must cover. Masking lowers the class.
rank(name, masked) := class.rank if {
	class := data.extauthz.tables.classifications[served(name, masked)]
}

served(name, masked) := data.extauthz.tables.classifications[name].masked_as if {
	masked == true
} else := name

# METADATA
# description: Whether data of this class may enter the environment masked or unmasked as it is.
admitted(_, masked, _) if masked == true

admitted(name, _, _) if data.extauthz.tables.classifications[name].needs_masking == false

admitted(_, _, environment) if data.extauthz.tables.environments[environment].trust == "high"

# METADATA
# description: Whether the request is for masked data. Anything but a literal true is unmasked.
default masked := false

masked if input.resource.properties.masked == true
