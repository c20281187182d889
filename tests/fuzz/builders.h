#pragma once
// Statements whose operands hang together in more ways than a pattern says.
#include <string>

namespace mica::fuzz {

class Generator;

std::string build_matmul(Generator& g);
std::string build_linear(Generator& g);
std::string build_einsum(Generator& g);
std::string build_conv(Generator& g);
std::string build_conv_transpose(Generator& g);
std::string build_attention(Generator& g);
std::string build_max_pool(Generator& g);
std::string build_avg_pool(Generator& g);
std::string build_adaptive_pool(Generator& g);
std::string build_batch_norm(Generator& g);
std::string build_layer_norm(Generator& g);
std::string build_group_norm(Generator& g);
std::string build_upsample(Generator& g);
std::string build_rnn_cell(Generator& g);
std::string build_set_subscript(Generator& g);
std::string build_add_subscript(Generator& g);
std::string build_if(Generator& g);
std::string build_for(Generator& g);
std::string build_while(Generator& g);
std::string build_recurrence(Generator& g);
std::string build_scan(Generator& g);
std::string build_number(Generator& g);

}  // namespace mica::fuzz
